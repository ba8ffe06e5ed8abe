"""The base class that adapters derive from, as far as the contract describes it."""

import client
from taosanalytics.conf import get_tsfm_service


class TsfmBaseService:
    name = ""
    desc = ""
    _builtins = True
    is_builtins = True

    def __init__(self):
        self.service_host = get_tsfm_service(self.name)

    def execute(self, **request):
        return client.forecast(self.service_host, **request)
