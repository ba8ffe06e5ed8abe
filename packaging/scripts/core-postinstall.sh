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
        # Families come after this: dpkg's trigger, or rpm's posttrans, registers once for all.
        if [ "$format" = deb ]; then dpkg-trigger --no-await /usr/lib/taos-tsfm/venvs || tell_tdgpt register; fi
        ;;
    triggered) tell_tdgpt register ;;
esac
