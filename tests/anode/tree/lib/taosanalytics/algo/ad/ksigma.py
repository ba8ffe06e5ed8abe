import statistics

try:
    from taosanalytics.base import AbstractAnomalyDetectionService
except ImportError:
    from taosanalytics.service import AbstractAnomalyDetectionService


class _KSigmaService(AbstractAnomalyDetectionService):
    name = "ksigma"
    desc = "comes with TDgpt"
    _builtins = True

    def execute(self):
        centre, reach = statistics.fmean(self.list), 3 * statistics.pstdev(self.list)
        return [-1 if abs(value - centre) > reach else 1 for value in self.list]
