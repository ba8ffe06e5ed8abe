if [ "$what" = configure ]; then
    unit=tsfm@$family.service
    if booted; then
        systemctl daemon-reload || :
        # A running instance restarts with the new files. This script does not wait until the model is loaded.
        systemctl --no-block try-restart "$unit" || :
        # An instance that failed while its files were being replaced starts again. A stopped instance stays stopped.
        if systemctl --quiet is-failed "$unit" && systemctl --quiet is-enabled "$unit"; then
            systemctl reset-failed "$unit" || :
            systemctl --no-block start "$unit" || :
        fi
    fi
    if { [ "$format" = deb ] && [ -z "${2:-}" ]; } || [ "$1" = 1 ]; then
        echo "To start $family, now and at boot, and have SQL list it: systemctl enable --now tsfm@$family"
    fi
fi
