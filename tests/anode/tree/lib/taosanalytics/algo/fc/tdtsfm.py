from taosanalytics.algo.tsfm import TsfmBaseService


class _Service(TsfmBaseService):
    name = "tdtsfm_1"
    desc = "comes with TDgpt"

    def __init__(self):
        super().__init__()
        self.service_host = self.service_host or "http://127.0.0.1:6036/tdtsfm"

    def execute(self, **request):
        if request.get("past"):
            raise ValueError("covariate forecast is not supported yet")
        return super().execute(**request)
