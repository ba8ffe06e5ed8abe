# The same steps for a first installation, an upgrade and a reinstallation after removal (dpkg gives an old
# version for both of the latter). Running instances are restarted by their own packages, which come
# after this one and always with it, so each restarts once.
case "$what" in
    configure)
        systemd-sysusers taos-tsfm.conf
        systemd-tmpfiles --create taos-tsfm.conf || :
        if [ -z "${2:-}" ] && [ "$1" != 2 ]; then
            # Only ever the first time: what an administrator disables stays so.
            systemctl --quiet enable tsfm.target tsfm-register.path || :
        fi
        if booted; then
            systemctl daemon-reload || :
            systemctl start tsfm.target tsfm-register.path || :
        fi
        tell_tdgpt register
        ;;
    triggered) tell_tdgpt register ;;
esac
