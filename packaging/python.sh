# Sets $python, the Python 3.11 that builds everything, and $pip, a pip that can install uv. This file is sourced.
# Development uses the distribution's Python; the packages are built with and for their own (interpreter.py).
python=${PYTHON:-}
if [ -z "$python" ]; then
    for python in /usr/bin/python3.11 python3.11 ''; do
        if [ -n "$python" ] && command -v "$python" >/dev/null; then break; fi
    done
fi
if [ -z "$python" ]; then
    echo "python3.11 not found: taos-tsfm needs Python 3.11" >&2
    exit 1
fi
for pip in "$python -m pip" "python3 -m pip" pip3 ''; do
    if [ -n "$pip" ] && $pip --version >/dev/null 2>&1; then break; fi
done
if [ -z "$pip" ]; then
    echo "pip not found: install python3-pip" >&2
    exit 1
fi
