# What runs has PyTorch in use, whose files are gone. With device = cuda it says what to install.
if [ "$what" = remove ] && booted; then
    systemctl daemon-reload || :
    systemctl --no-block try-restart 'tsfm@*.service' || :
fi
