# Fourth generation: the addresses are made of the dict below.
import os as _os

_home = _os.path.dirname(_os.path.abspath(__file__))

bind = "0.0.0.0:6035"
workers = 2
app_log = "/var/log/taos/taosanode/taosanode.app.log"
log_level = "DEBUG"

models = {
    "tdtsfm": {
        "script": "tdtsfm-server.py",
        "port": 6061,
        "endpoint": "/tdtsfm",
        "algo_name": "tdtsfm_1",
        "required": True,
    },
    "timemoe": {
        "script": "timemoe-server.py",
        "port": 6062,
        "endpoint": "/ds_predict",
        "algo_name": "timemoe_fc",
        "required": True,
    },
    "chronos": {"script": "chronos-server.py", "port": 6063, "endpoint": "/ds_predict", "required": False},
    "moirai": {"script": "moirai-server.py", "port": 6064, "endpoint": "/ds_predict", "required": False},
    "timesfm": {"script": "timesfm-server.py", "port": 6065, "endpoint": "/ds_predict", "required": False},
    "moment": {"script": "moment-server.py", "port": 6066, "endpoint": "/imputation", "required": False},
}

timesfm_venv = _os.path.join(_home, "venvs", "timesfm_venv")
