"""The base class of detectors in the newest generation: several columns, a status, and whether TDgpt brings it."""

import types


class AbstractAnomalyDetectionService:
    READY, UNAVAILABLE = 1, 2
    _toStatusName = types.MappingProxyType({READY: "READY", UNAVAILABLE: "UNAVAIL"})
    name = ""
    desc = ""
    _builtins = False

    def __init__(self):
        self.valid_code = 1
        self.type = "anomaly-detection"
        self.list = None
        self.ts_list = None
        self.input_data_lists = []

    def input_is_empty(self):
        return not self.list

    def set_input_list(self, input_list, input_ts_list=None):
        self.ts_list = input_ts_list
        self.input_data_lists = input_list if input_list and isinstance(input_list[0], list) else [input_list]
        self.list = self.input_data_lists[0]

    def set_params(self, params):
        if not isinstance(params, dict):
            raise ValueError("invalid parameter type, only dict allowed")
        self.valid_code = int(params.get("valid_code", self.valid_code))

    def get_desc(self):
        return self.desc

    def get_params(self):
        return {}

    def get_status(self):
        return self._toStatusName[self.READY]

    @property
    def is_builtins(self):
        return self._builtins
