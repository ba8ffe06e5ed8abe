if [ "$what" = configure ]; then
    unit=tsfm@$family.service
    if booted; then
        systemctl daemon-reload || :
        # Takes up the new files if it runs. The model's loading is not waited for.
        systemctl --no-block try-restart "$unit" || :
        # What failed while its files were being replaced comes back. What somebody stopped stays so.
        if systemctl --quiet is-failed "$unit" && systemctl --quiet is-enabled "$unit"; then
            systemctl reset-failed "$unit" || :
            systemctl --no-block start "$unit" || :
        fi
    fi
    if { [ "$format" = deb ] && [ -z "${2:-}" ]; } || [ "$1" = 1 ]; then
        echo "To start $family, now and at boot, and have SQL list it: systemctl enable --now tsfm@$family"
    fi
fi
