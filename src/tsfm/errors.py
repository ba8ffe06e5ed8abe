"""
The exception hierarchy of tsfm, with the HTTP status or the exit code of each class:

* TsfmError              exit 1
  + UsageError           exit 2    the command line is wrong
  + ConfigError          exit 78   settings or files are wrong: restarting cannot help
    + TryLater           exit 75   files are missing; a later start may find them
    + OtherModel         exit 78   whole files, of a model that our network does not compute
  + RequestError                   answered to the client
    + BadRequest         400       the client can correct it
    + Unauthorized       401       the token is missing or wrong
    + Forbidden          403       the client's network is not allowed
    + TooLarge           413       the request exceeds a limit
    + Unsupported        415       the body has an encoding or a type that the service does not read
    + QueueFull          429       retry after the seconds in Retry-After
    + NotReady           503       the service is loading or stopping
    + DeadlinePassed     504       no answer within the deadline
    + ModelFailed        500       the model failed on a valid request
    + OutOfMemory        507       a single series needs more memory than is free
"""

from __future__ import annotations


class TsfmError(Exception):
    """Base class of all errors that tsfm raises deliberately. The text is one sentence for the user."""

    exit_code = 1


class UsageError(TsfmError):
    exit_code = 2


class ConfigError(TsfmError):
    exit_code = 78  # EX_CONFIG; systemd does not restart the unit after it


class TryLater(ConfigError):
    exit_code = 75  # EX_TEMPFAIL; systemd restarts the unit, slowly


class OtherModel(ConfigError):
    """The maker's package may compute it."""


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


class Unsupported(RequestError):
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
