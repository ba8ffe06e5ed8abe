from taosanalytics.algo.tsfm import TsfmBaseService


class _Service(TsfmBaseService):
    name = "chronos"
    desc = "comes with TDgpt"

    def __init__(self):
        super().__init__()
        self.service_host = self.service_host or "http://127.0.0.1:6038/ds_predict"
