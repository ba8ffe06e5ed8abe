case "$what" in
    remove | purge)
        if [ "$what" = purge ] || [ "$format" = rpm ]; then
            # Remove the links of "systemctl enable". Drop-ins in tsfm@*.service.d belong to the administrator.
            for unit in tsfm.target tsfm-register.path; do rm -f /etc/systemd/system/*.wants/$unit; done
            rmdir /etc/systemd/system/tsfm.target.wants 2>/dev/null || :
        fi
        # These folders are shared with TDgpt. If TDgpt is not installed, remove those that are empty and owned by
        # root. Weights are never deleted. The user is kept, because it may own files.
        rmdir /usr/local/taos/taosanode/tsfm 2>/dev/null || :
        if [ ! -e /usr/local/taos/taosanode/lib ]; then
            for folder in /var/lib/taos/taosanode/model /var/lib/taos/taosanode /var/lib/taos \
                /usr/local/taos/taosanode /usr/local/taos /etc/taos; do
                if [ "$(stat --format %U "$folder" 2>/dev/null)" = root ]; then rmdir "$folder" 2>/dev/null || :; fi
            done
        fi
        if booted; then
            systemctl daemon-reload || :
            systemctl reset-failed 'tsfm@*.service' 'tsfm-register.service' 2>/dev/null || :
        fi
        ;;
esac
