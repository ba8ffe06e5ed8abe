# The steps are the same for a first installation, an upgrade and a reinstallation after removal (dpkg passes an
# old version in the last two cases). The packages of the families restart their running instances. They are always
# installed together with this package and after it, so each instance restarts once.
case "$what" in
    configure)
        systemd-sysusers taos-tsfm.conf
        systemd-tmpfiles --create taos-tsfm.conf || :
        if [ -z "${2:-}" ] && [ "$1" != 2 ]; then
            # Only at the first installation: a unit that an administrator disabled stays disabled.
            systemctl --quiet enable tsfm.target tsfm-register.path || :
        fi
        if booted; then
            systemctl daemon-reload || :
            systemctl start tsfm.target tsfm-register.path || :
        fi
        # Families are installed after this package: dpkg's trigger or rpm's posttrans registers all of them at once.
        if [ "$format" = deb ]; then dpkg-trigger --no-await /usr/lib/taos-tsfm/venvs || tell_tdgpt register; fi
        ;;
    triggered) tell_tdgpt register ;;
esac
