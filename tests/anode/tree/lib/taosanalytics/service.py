"""The base class of detectors in generations before the newest: one column, a description, no status."""


class AbstractAnomalyDetectionService:
    name = ""
    desc = ""

    def __init__(self):
        self.valid_code = 1
        self.type = "anomaly-detection"
        self.list = None
        self.ts_list = None

    def input_is_empty(self):
        return not self.list

    def set_input_list(self, input_list, input_ts_list=None):
        self.list, self.ts_list = input_list, input_ts_list

    def set_params(self, params):
        if not isinstance(params, dict):
            raise ValueError("invalid parameter type, only dict allowed")
        self.valid_code = int(params.get("valid_code", self.valid_code))

    def get_desc(self):
        return self.desc

    def get_params(self):
        return {}
