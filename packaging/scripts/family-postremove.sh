if [ "$what" = purge ] || { [ "$what" = remove ] && [ "$format" = rpm ]; }; then
    rm -f /etc/systemd/system/*.wants/tsfm@$family.service
    rmdir /etc/systemd/system/tsfm.target.wants 2>/dev/null || :
fi
if [ "$what" = remove ]; then
    # The folder that tsfm-pull@ made, if it is empty. TDgpt's own stays TDgpt's.
    folder=/var/lib/taos/taosanode/model/$family
    if [ "$(stat --format %U "$folder" 2>/dev/null)" = tsfm-pull ]; then rmdir "$folder" 2>/dev/null || :; fi
    # dpkg has a trigger, and on a host that runs tsfm-register.path waits until the transaction is over.
    if [ "$format" = rpm ] && ! booted && command -v tsfm >/dev/null; then tell_tdgpt register; fi
fi
