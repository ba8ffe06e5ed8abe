if [ "$what" = configure ]; then
    if booted; then
        systemctl daemon-reload || :
        # Takes up the new files if it runs. The model's loading is not waited for.
        systemctl --no-block try-restart tsfm@$family.service || :
    fi
    # With dpkg the core's trigger does this once for all.
    if [ "$format" = rpm ]; then tell_tdgpt register; fi
fi
