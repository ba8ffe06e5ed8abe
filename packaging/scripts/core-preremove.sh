if [ "$what" = remove ]; then
    tell_tdgpt unregister
    if booted; then
        # Stopping the target returns before its instances are down.
        systemctl stop tsfm-register.path 'tsfm-*.service' 'tsfm@*.service' 'tsfm-pull@*.service' tsfm.target || :
    fi
fi
