"""
Our exception hierarchy, with the HTTP status or the exit code each one becomes:

* TsfmError              exit 1
  + UsageError           exit 2    the command line is wrong
  + ConfigError          exit 78   settings or files are wrong: restarting cannot help
    + TryLater           exit 75   files are missing that time or another process brings
  + RequestError                   what a client is told
    + BadRequest         400       the client can mend it
    + Unauthorized       401       the token is missing or wrong
    + Forbidden          403       from a network that is not allowed
    + TooLarge           413       more than a limit allows
    + Encoded            415       the body is compressed
    + QueueFull          429       come again, Retry-After says when
    + NotReady           503       loading or stopping
    + DeadlinePassed     504       no answer within the deadline
    + ModelFailed        500       the model broke on a valid request
    + OutOfMemory        507       a single series needs more memory than there is
"""

from __future__ import annotations


class TsfmError(Exception):
    """Base class: anything we raise on purpose. The text is one sentence for a person."""

    exit_code = 1


class UsageError(TsfmError):
    exit_code = 2


class ConfigError(TsfmError):
    exit_code = 78  # EX_CONFIG; the unit does not restart on it


class TryLater(ConfigError):
    exit_code = 75  # EX_TEMPFAIL; the unit is started again, slowly


class RequestError(TsfmError):
    status = 500
    retry_after_s: int | None = None


class BadRequest(RequestError):
    status = 400


class Unauthorized(RequestError):
    status = 401


class Forbidden(RequestError):
    status = 403


class TooLarge(RequestError):
    status = 413


class Encoded(RequestError):
    status = 415


class QueueFull(RequestError):
    status = 429
    retry_after_s = 1


class NotReady(RequestError):
    status = 503
    retry_after_s = 5


class DeadlinePassed(RequestError):
    status = 504


class ModelFailed(RequestError):
    status = 500


class OutOfMemory(RequestError):
    status = 507
