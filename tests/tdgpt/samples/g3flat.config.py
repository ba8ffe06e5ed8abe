# Between the third and the fourth generation: flat keys with the new ports.
bind = "0.0.0.0:6035"
workers = 2
timeout = 1200

app_log = "/var/log/taos/taosanode/taosanode.app.log"
log_level = "DEBUG"

tdtsfm_1 = "http://127.0.0.1:6061/tdtsfm"
timemoe_fc = "http://127.0.0.1:6062/ds_predict"
