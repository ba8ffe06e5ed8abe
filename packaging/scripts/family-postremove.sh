if [ "$what" = purge ] || { [ "$what" = remove ] && [ "$format" = rpm ]; }; then
    rm -f /etc/systemd/system/*.wants/tsfm@$family.service
    rmdir /etc/systemd/system/tsfm.target.wants 2>/dev/null || :
fi
if [ "$what" = remove ]; then
    # Remove the folder that tsfm-pull@ made, if it is empty. A folder of TDgpt's is kept.
    folder=/var/lib/taos/taosanode/model/$family
    if [ "$(stat --format %U "$folder" 2>/dev/null)" = tsfm-pull ]; then rmdir "$folder" 2>/dev/null || :; fi
    # dpkg has a trigger. On a booted host, tsfm-register.path registers after the end of the transaction.
    if [ "$format" = rpm ] && ! booted && command -v tsfm >/dev/null; then tell_tdgpt register; fi
fi
