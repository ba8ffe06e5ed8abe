# What runs restarts, finds PyTorch with CUDA and may reach the GPU; what is stopped stays stopped.
if [ "$what" = configure ] && booted; then
    systemctl daemon-reload || :
    systemctl --no-block try-restart 'tsfm@*.service' || :
fi
