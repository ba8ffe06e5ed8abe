if [ "$what" = purge ] || { [ "$what" = remove ] && [ "$format" = rpm ]; }; then
    rm -f /etc/systemd/system/*.wants/tsfm@$family.service
    rmdir /etc/systemd/system/tsfm.target.wants 2>/dev/null || :
fi
if [ "$what" = remove ]; then
    # An empty folder of the model is TDgpt's or ours to make again.
    rmdir /var/lib/taos/taosanode/model/$family 2>/dev/null || :
    if [ "$format" = rpm ] && command -v tsfm >/dev/null; then tell_tdgpt register; fi
fi
