"""The failure tree: every error that a user, an image or the kernel can cause.

    CasemateError
      Invalid         the request or the data is malformed            400  INVALID_ARGUMENT
      NotFound        the named thing does not exist                  404  NOT_FOUND
      AlreadyExists   the name is taken                               409  ALREADY_EXISTS
      Conflict        the thing is in a state that forbids this       409  FAILED_PRECONDITION
      Denied          policy or permission refuses                    403  PERMISSION_DENIED
      Unauthorized    credentials are missing or wrong                401  UNAUTHENTICATED
      Unsupported     this kernel, host or version cannot do it       501  UNIMPLEMENTED
      Unavailable     something outside does not answer               503  UNAVAILABLE
      Exhausted       a limit, disk or quota is full                  507  RESOURCE_EXHAUSTED
      Corrupt         stored or received data is not what it claims   500  DATA_LOSS
      TimedOut        it took longer than allowed                     504  DEADLINE_EXCEEDED
      NotExecutable   the program exists but cannot be executed       400  exit 126
      ProgramNotFound the program does not exist                      404  exit 127
      Internal        a fault of casemate itself                      500  INTERNAL

Each carries *doing what, to what, why, how to fix it* and a stable code. HTTP status, gRPC status and exit code belong to the
category and are stated only here (DESIGN: one mapping). Messages are lower case without a full stop.
"""


class CasemateError(Exception):
    """A failure that is explained to the user instead of traced.

    ``doing`` is a verb phrase ("pull image"), ``subject`` names the object, ``why`` the cause and ``hint`` the next
    action. ``str()`` gives one line; ``hint`` is shown on a line of its own by the command line.
    """

    code = "E-INTERNAL"
    http_status = 500
    grpc_code = "INTERNAL"
    exit_code = 125

    def __init__(
        self, doing: str, subject: object = "", why: object = "", *, hint: str = "", code: str = ""
    ) -> None:
        self.doing = doing
        self.subject = str(subject)
        self.why = str(why)
        self.hint = hint
        self.code = code or type(self).code
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """One line: ``doing subject: why``."""
        head = f"{self.doing} {self.subject}".strip()
        return f"{head}: {self.why}" if self.why else head

    def __str__(self) -> str:
        return self.message


class Invalid(CasemateError):
    """The request or the data is malformed."""

    code = "E-INVALID"
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"
    exit_code = 125


class NotFound(CasemateError):
    """The named thing does not exist."""

    code = "E-NOT-FOUND"
    http_status = 404
    grpc_code = "NOT_FOUND"
    exit_code = 125


class AlreadyExists(CasemateError):
    """The name is taken."""

    code = "E-EXISTS"
    http_status = 409
    grpc_code = "ALREADY_EXISTS"
    exit_code = 125


class Conflict(CasemateError):
    """The thing is in a state that forbids this."""

    code = "E-CONFLICT"
    http_status = 409
    grpc_code = "FAILED_PRECONDITION"
    exit_code = 125


class Denied(CasemateError):
    """Policy or permission refuses."""

    code = "E-DENIED"
    http_status = 403
    grpc_code = "PERMISSION_DENIED"
    exit_code = 125


class Unauthorized(CasemateError):
    """Credentials are missing or wrong."""

    code = "E-UNAUTHORIZED"
    http_status = 401
    grpc_code = "UNAUTHENTICATED"
    exit_code = 125


class Unsupported(CasemateError):
    """This kernel, host or version cannot do it."""

    code = "E-UNSUPPORTED"
    http_status = 501
    grpc_code = "UNIMPLEMENTED"
    exit_code = 125


class Unavailable(CasemateError):
    """Something outside does not answer."""

    code = "E-UNAVAILABLE"
    http_status = 503
    grpc_code = "UNAVAILABLE"
    exit_code = 125


class Exhausted(CasemateError):
    """A limit, disk or quota is full."""

    code = "E-EXHAUSTED"
    http_status = 507
    grpc_code = "RESOURCE_EXHAUSTED"
    exit_code = 125


class Corrupt(CasemateError):
    """Stored or received data is not what it claims to be."""

    code = "E-CORRUPT"
    http_status = 500
    grpc_code = "DATA_LOSS"
    exit_code = 125


class TimedOut(CasemateError):
    """It took longer than allowed."""

    code = "E-TIMEOUT"
    http_status = 504
    grpc_code = "DEADLINE_EXCEEDED"
    exit_code = 125


class NotExecutable(CasemateError):
    """The program exists but cannot be executed."""

    code = "E-NOT-EXECUTABLE"
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"
    exit_code = 126


class ProgramNotFound(CasemateError):
    """The program does not exist in the container."""

    code = "E-PROGRAM-NOT-FOUND"
    http_status = 404
    grpc_code = "NOT_FOUND"
    exit_code = 127


class Internal(CasemateError):
    """A fault of casemate itself: please report it."""

    code = "E-INTERNAL"
    http_status = 500
    grpc_code = "INTERNAL"
    exit_code = 125
