# Third generation: a Python file for Gunicorn; TDgpt looks its globals up by name.
import multiprocessing

bind = "0.0.0.0:6035"
workers = 2
threads = max(multiprocessing.cpu_count() // 4 + 1, 2)
timeout = 1200

app_log = "/var/log/taos/taosanode/taosanode.app.log"
log_level = "DEBUG"
draw_result = False

tdtsfm_1 = "http://127.0.0.1:6036/tdtsfm"
timemoe_fc = "http://127.0.0.1:6037/ds_predict"
