#!/bin/sh
# build.sh OUT [ARCH]: build a relocatable CPython 3.11 in OUT/python for every Linux with glibc 2.28 or newer.
# OUT/tests gets CPython's own tests: they run where its content is laid over OUT/python/lib/python3.11.
#
# The sources are Debian's, with its security patches, in the versions of ../locks/python.txt. The headers and stub
# libraries of glibc 2.28 come from zig (PyPI). Debian's own gcc compiles with the profile in profile.tar.xz; zig's
# clang compiles for another architecture, or where COMPILER=zig. With PROFILE=new the profile is measured anew and
# left in OUT/profile.tar.xz. Needed: dpkg-dev gcc libc6-dev binutils make patch perl xz-utils python3 python3-pip;
# for another architecture also python3.11 and libgcc-12-dev-arm64-cross.
set -eu
own=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && out=$(cd "$1" && pwd)
arch=${2:-$(uname -m)}
here=$(uname -m)
[ "$arch" = "$here" ] && compiler=${COMPILER:-gcc} || compiler=zig
profile=${PROFILE:-$own/profile.tar.xz}
glibc=2.28
prefix=/usr/lib/taos-tsfm/python # only told to sysconfig and OpenSSL; the interpreter finds its own place
work=${WORK:-$out/work}
jobs=$(nproc)
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1763856000}" ZERO_AR_DATE=1 LC_ALL=C TZ=UTC
export ZIG_GLOBAL_CACHE_DIR="$work/zig-cache" ZIG_LOCAL_CACHE_DIR="$work/zig-cache"
mkdir -p "$work/bin-$arch" "$work/src" "$work/tree"
logged() { # NAME COMMAND...: run quietly; on failure show the end of its log
    log=$work/$1-$arch.log && shift
    "$@" >>"$log" 2>&1 || { tail -n 30 "$log" >&2; exit 1; }
}

# -- the compiler, under bare names on PATH: a path would get into what is built ---------------------------------
zig=$work/zig/ziglang/zig
[ -x "$zig" ] || PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-deps --require-hashes --target "$work/zig" -r "$own/../locks/ziglang.txt"
tool() { printf '#!/bin/sh\nexec %s "$@"\n' "$2" >"$work/bin-$arch/$1" && chmod 755 "$work/bin-$arch/$1"; }
if [ "$compiler" = zig ]; then
    CC=clang AR=llvm-ar RANLIB=llvm-ranlib # configure scripts judge by the name
    tool clang "$zig cc -target $arch-linux-gnu.$glibc -fno-sanitize=undefined"
    tool llvm-ar "$zig ar" && tool llvm-ranlib "$zig ranlib"
    # zig takes -O3 for -O2, keeps the frame pointer, and knows neither --exclude-libs nor, any more, objcopy.
    # gcc's helper functions, since zig's library of them also has a memcpy and a log2 (wrong for tiny numbers), among others,
    # which would be linked in place of libc's.
    helpers=$(ls /usr/lib/gcc*/"$arch-linux-gnu"/*/libgcc.a 2>/dev/null | tail -n 1)
    [ -n "$helpers" ] || { echo "libgcc.a for $arch not found: install libgcc-12-dev-arm64-cross" >&2; exit 1; }
    faster="-Xclang -O3 -fomit-frame-pointer -Wno-date-time -flto=thin" linking="-O3 -flto=thin -s $helpers"
else
    CC=gcc AR=gcc-ar RANLIB=gcc-ranlib
    root=$work/sysroot
    if [ ! -e "$root/done" ]; then # zig makes the stubs when it first links
        rm -rf "$root" && mkdir -p "$root/usr/include" "$root/usr/lib"
        for part in any-linux-any x86-linux-any generic-glibc x86-linux-gnu; do
            cp -r "${zig%/*}/lib/libc/include/$part/." "$root/usr/include/"
        done
        sed -i "s|^/\* zig patch: we pass.*|#define __GLIBC_MINOR__ ${glibc#*.}|" "$root/usr/include/features.h"
        echo 'int main(void) { return 0; }' >"$root/x.c"
        ZIG_GLOBAL_CACHE_DIR=$root/made ZIG_LOCAL_CACHE_DIR=$root/made \
            "$zig" cc -target "$arch-linux-gnu.$glibc" "$root/x.c" -o "$root/x"
        find "$root/made" \( -name crt1.o -o -name 'lib*.so.*' -o -name libc_nonshared.a \) -exec cp {} "$root/usr/lib/" \;
        # A program that reads environ gets its own copy, which libc finds by the name __environ: GNU ld must be told, as
        # the real libc does by weak aliases, that they are one. Without this os.environ is empty.
        stubs=$(dirname "$(find "$root/made" -name c.s)")
        sed -E 's/^(_?environ_[0-9_]+): .*/.set \1, __environ_2_2_5/; s/^\.globl (_?environ_[0-9_]+)$/.weak \1/; s/^\.rodata$/.section .rodata/' \
            "$stubs/c.s" >"$root/c.s"
        /usr/bin/gcc -shared -nostdlib -Wl,-soname,libc.so.6 -Wl,--version-script="$stubs/all.map" "$root/c.s" -o "$root/usr/lib/libc.so.6" 2>/dev/null
        cp /usr/lib/x86_64-linux-gnu/crt[in].o "$root/usr/lib/"
        mv "$root/usr/lib/libld.so.2" "$root/usr/lib/ld-linux-x86-64.so.2"
        for name in m pthread dl rt util resolv; do ln -s "$(cd "$root/usr/lib" && ls lib$name.so.*)" "$root/usr/lib/lib$name.so"; done
        echo "GROUP ( libc.so.6 libc_nonshared.a AS_NEEDED ( ld-linux-x86-64.so.2 ) )" >"$root/usr/lib/libc.so"
        touch "$root/done"
    fi
    tool gcc "/usr/bin/gcc --sysroot=$root -B$root/usr/lib -L$root/usr/lib -static-libgcc -no-pie -fno-pie"
    faster="-flto=$jobs -fno-fat-lto-objects -fuse-linker-plugin"
    linking="-Wl,--build-id=none -Wl,-z,relro,-z,now -Wl,--exclude-libs,libcrypto.a:libssl.a:libffi.a:liblzma.a:libbz2.a:libz.a"
fi
export CC AR RANLIB LLVM_AR="$AR" PATH="$work/bin-$arch:$PATH"

# -- the sources -------------------------------------------------------------------------------------------------
. "$own/suite.sh"
fetch() ( # NAME VERSION SHA256 of its .dsc, which names the archives' hashes
    cd "$work/src" && name=$1
    versions="$2 $(apt apt-cache showsrc "$name" | sed -n 's/^Version: //p' | sort -uV | tac)"
    for version in $versions; do
        dsc=${name}_${version#*:}.dsc
        if apt apt-get source --download-only "$name=$version" 2>/dev/null; then
            if [ "$version" != "$2" ]; then
                # A mirror drops a version when the next one appears. Development goes on; a release compares and stops.
                echo "$name $2 is not on the mirror: taking $version (make python-update pins it)" >&2
            elif [ "$(sha256sum <"$dsc")" != "$3  -" ]; then
                echo "$dsc: its SHA-256 is not the one in locks/python.txt" >&2
                exit 1
            fi
            # Of CPython's patches only the fixes, below: those before them are for Debian's own layout.
            [ "$name" = python3.11 ] && skip=--skip-patches || skip=
            rm -rf "$work/tree/$name" && dpkg-source --no-check $skip -x "$dsc" "$work/tree/$name" >/dev/null
            echo "$name $version $(sha256sum <"$dsc" | cut -d ' ' -f 1)" >>"$work/sources.new"
            return
        fi
    done
    echo "$name: the mirror has none of $versions" >&2
    exit 1
)
if [ ! -e "$work/sources.txt" ]; then
    rm -f "$work/sources.new" && apt apt-get update
    grep -v '^#' "${LOCK:-$own/../locks/python.txt}" | while read -r name version hash; do fetch "$name" "$version" "$hash"; done
    cd "$work/tree/python3.11"
    grep -qx destshared-location.diff debian/patches/series # the last of Debian's own; what follows it are fixes
    for fix in $(sed '1,/^destshared-location.diff$/d' debian/patches/series); do patch -s -p1 --no-backup-if-mismatch <"debian/patches/$fix"; done
    # Debian's patched expat in place of the one that CPython brings; expat_external.h keeps CPython's own names.
    for file in Modules/expat/xml*.[ch] Modules/expat/expat.h; do cp "../expat/expat/lib/${file##*/}" Modules/expat/; done
    mv "$work/sources.new" "$work/sources.txt"
fi

# -- the libraries, static and hidden ----------------------------------------------------------------------------
deps=$work/deps-$arch
hard="-fstack-protector-strong -D_FORTIFY_SOURCE=2"
flags="-O2 -g0 -fPIC -fvisibility=hidden $hard"
configured="--host=$arch-linux-gnu --prefix=$prefix --disable-shared"
library() { # SOURCE LIBRARIES COMMAND, in a copy of its tree; the headers are taken from "include" or as they lie
    [ ! -e "$deps/done-$1" ] || return 0
    rm -rf "$work/build-$arch-$1" && cp -a "$work/tree/$1" "$work/build-$arch-$1" && cd "$work/build-$arch-$1"
    logged "$1" sh -euc "$3"
    for made in $2; do find . -name "$made.a" -exec cp {} "$deps/lib/" \;; done
    touch "$deps/done-$1"
}
mkdir -p "$deps/lib" "$deps/include"
library zlib libz "CFLAGS='$flags -O3' ./configure --static; make -j$jobs libz.a; cp zlib.h zconf.h $deps/include"
library bzip2 libbz2 "make -j$jobs libbz2.a CC=$CC AR=$AR RANLIB=$RANLIB CFLAGS='$flags -D_FILE_OFFSET_BITS=64'; cp bzlib.h $deps/include"
library xz-utils liblzma "./configure $configured CFLAGS='$flags' gl_cv_cc_visibility=no --disable-nls --disable-doc --disable-xz --disable-xzdec \
    --disable-lzmadec --disable-lzmainfo --disable-scripts; make -j$jobs; cp -r src/liblzma/api/lzma* $deps/include"
library libffi libffi "./configure $configured CFLAGS='$flags -Wno-implicit-function-declaration' --disable-docs; make -j$jobs
    cp */include/ffi*.h $deps/include"
library openssl "libssl libcrypto" "./Configure linux-$arch --prefix=$prefix --libdir=lib --openssldir=$prefix/ssl no-shared no-module no-engine \
    no-legacy no-tests $flags; make -j$jobs build_libs; cp -r include/openssl $deps/include"

# -- the interpreter: one program, every module built in ---------------------------------------------------------
build=$work/build-$arch
if [ ! -e "$build/done" ]; then
    rm -rf "$build" && mkdir -p "$build" && cd "$build"
    cross=
    [ "$arch" = "$here" ] || cross="--host=$arch-linux-gnu --build=$here-linux-gnu --with-build-python=/usr/bin/python3.11
        READELF=/usr/bin/readelf ac_cv_file__dev_ptmx=yes ac_cv_file__dev_ptc=no ac_cv_buggy_getaddrinfo=no
        ac_cv_aligned_required=no ac_cv_broken_sem_getvalue=no ac_cv_working_tzset=yes ac_cv_pthread_system_supported=yes"
    # By a relative path, so that nothing in the program tells where it was built.
    logged python env MODULE_BUILDTYPE=static PKG_CONFIG=false ../tree/python3.11/configure $cross --prefix=$prefix --with-openssl="$deps" \
        --without-ensurepip --disable-test-modules --with-computed-gotos OPT="-DNDEBUG -fwrapv -O3" \
        CPPFLAGS="-I$deps/include" LDFLAGS="-L$deps/lib -Wl,--no-as-needed" LIBS="-lpthread -ldl" # for libcrypto
    { # Of "name files" lines only those without "=" are modules; _ctypes is not in CPython's list yet.
        sed -n '/^\*shared\*$/q; /^[_a-z*]/p' Modules/Setup.stdlib
        echo "_ctypes _ctypes/_ctypes.c _ctypes/callbacks.c _ctypes/callproc.c _ctypes/stgdict.c _ctypes/cfield.c" \
            "-DHAVE_FFI_PREP_CIF_VAR -DHAVE_FFI_PREP_CLOSURE_LOC -DHAVE_FFI_CLOSURE_ALLOC -lffi -ldl"
    } >Modules/Setup.local
    missing=$(for name in _ssl _hashlib _lzma _bz2 zlib _posixshmem _decimal; do grep -q "^$name " Modules/Setup.local || echo "$name"; done)
    [ -z "$missing" ] || { echo "configure did not find what is needed for: $missing" >&2; exit 1; }
    logged python make Makefile
    build() { # COMPILING LINKING MAKE...
        logged python make -j"$jobs" python pybuilddir.txt CFLAGS_NODIST="-g0 $hard $1" LDFLAGS_NODIST="-g0 $2" ${3:-}
    }
    if [ "$compiler" = gcc ]; then
        again=
        if [ "$profile" = new ]; then
            build "-fprofile-generate" "$linking -fprofile-generate"
            # The part of CPython's tests that is most like a server's work.
            training=$(printf 'test_%s ' array base64 binascii bisect builtin bytes class codecs collections contextlib csv dataclasses descr \
                dict difflib email exceptions float fstring functools generators heapq http_cookies int itertools json list long memoryview \
                operator ordered_dict patma pickle pprint re set sort string struct unicode urlparse xml_etree_c)
            train="import random; random.seed(1); from test.libregrtest import main; main()"
            setarch -R env PYTHONHASHSEED=0 ./python -B -c "$train" --pgo $training >"$work/training.log" 2>&1 || : # some need what is not built
            find . -name '*.gcda' | sort | tar -c --owner 0 --group 0 --mtime "@$SOURCE_DATE_EPOCH" -T - | xz -9e >"$out/profile.tar.xz"
            find . -name '*.o' -delete && rm -f libpython3.11.a python
            again="-o _bootstrap_python -o Programs/_freeze_module" # what froze the standard library need not be built again
        else
            tar -xf "$profile"
        fi
        # A security fix may change a function after its profile was taken: that function is compiled without one.
        build "$faster -fprofile-use -fprofile-correction -Wno-missing-profile -Wno-coverage-mismatch" "$faster $linking -fprofile-use" "$again"
    else
        build "$faster" "$linking"
    fi
    touch done
fi

# -- the tree ----------------------------------------------------------------------------------------------------
tree=$out/python
lib=$tree/lib/python3.11
rm -rf "$tree" && mkdir -p "$tree/bin" "$lib/lib-dynload" "$lib/site-packages"
cp "$build/python" "$tree/bin/python3.11"
[ "$compiler" = zig ] || strip --strip-all "$tree/bin/python3.11"
ln -s python3.11 "$tree/bin/python3"
unused="test tests idlelib tkinter turtle.py turtledemo lib2to3 ensurepip pydoc_data __phello__ __pycache__ site-packages *.exe *.bat"
tar -c -C "$work/tree/python3.11/Lib" $(set -f; printf -- '--exclude=%s ' $unused) . | tar -x -C "$lib"
echo "Every module of CPython's own is part of the program; it only looks for this folder." >"$lib/lib-dynload/README"
# Where it was built is in no file, nor in the way long lines are wrapped.
python3 - "$build/$(cat "$build/pybuilddir.txt")"/_sysconfigdata_*.py "$work" >"$lib/_sysconfigdata__linux_$arch-linux-gnu.py" <<'PY'
import pprint, runpy, sys
facts = runpy.run_path(sys.argv[1])["build_time_vars"]
known = {key: value.replace(sys.argv[2], "/build") if isinstance(value, str) else value for key, value in facts.items()}
print("# Written by the build.\nbuild_time_vars =", pprint.pformat(known))
PY
cp "$own/sitecustomize.py" "$lib/"
# What is linked in asks that its licence goes with it: Debian has collected the text of each source.
mkdir "$tree/licenses"
for name in $(cut -d " " -f 1 "$work/sources.txt"); do cp "$work/tree/$name/debian/copyright" "$tree/licenses/$name.txt"; done
cut -d " " -f 1,2 "$work/sources.txt" | sort >"$tree/SOURCES"
find "$tree" -type f -exec chmod 644 {} + -o -type d -exec chmod 755 {} + && chmod 755 "$tree/bin/python3.11"
[ "$arch" = "$here" ] && runs=$tree/bin/python3.11 || runs=/usr/bin/python3.11
# One after the other: what a process has loaded by then shows in the bytes it writes.
PYTHONHASHSEED=0 "$runs" -P -s -m compileall -q -j 1 --invalidation-mode unchecked-hash -s "$tree" -p $prefix "$lib"
find "$tree" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +

# -- its tests ---------------------------------------------------------------------------------------------------
tests=$out/tests
rm -rf "$tests" && mkdir -p "$tests/ctypes" "$tests/lib-dynload"
cp -R "$work/tree/python3.11/Lib/test" "$tests/test" && cp -R "$work/tree/python3.11/Lib/ctypes/test" "$tests/ctypes/test"
for module in _testcapi _testinternalcapi _testmultiphase _ctypes_test; do
    sources=$(cd "$work/tree/python3.11/Modules" && ls "$PWD/${module}module.c" "$PWD/$module.c" "$PWD/_ctypes/$module.c" 2>/dev/null || :)
    logged tests "$CC" -shared -fPIC -DPy_BUILD_CORE_MODULE -I "$work/tree/python3.11/Include" -I "$work/tree/python3.11/Include/internal" \
        -I "$build" -o "$tests/lib-dynload/$module.so" "$sources" -lm
done

# -- what must hold ----------------------------------------------------------------------------------------------
if [ "$arch" = "$here" ]; then
    env -i MARK=1 "$runs" -I -c "import ssl, hashlib, ctypes, lzma, bz2, zlib, socket, mmap, decimal, pyexpat, _posixshmem, os; os.environ['MARK']"
    # Copies of a library's variables, as environ above: no others than these are known to be right.
    if readelf -rW "$runs" | grep _COPY | grep -vE ' (environ|__environ|stdin|stdout|stderr)@'; then exit 1; fi
fi
for name in log2 memcpy; do
    readelf -W --dyn-syms "$tree/bin/python3.11" | grep -q " UND $name@" || { echo "$name is not libc's" >&2; exit 1; }
done
newest=$(readelf -VW "$tree/bin/python3.11" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
echo "$tree: $(du -sh "$tree" | cut -f1), needs $newest"
[ "$(printf '%s\n' "GLIBC_$glibc" "$newest" | sort -V | tail -n 1)" = "GLIBC_$glibc" ]
