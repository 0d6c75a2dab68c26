"""Errors as answers: one table from our errors to statuses of HTTP. An answer never carries a stack trace."""

from __future__ import annotations

import errno
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from clearwell.errors import AccessError, ClearwellError, DataError, OverloadError, StorageError, UsageError

_STATUSES: dict[str, int] = {
    "answer_too_large": 413,
    "body_too_large": 413,
    "body_too_slow": 408,
    "comparison_unknown": 404,
    "credentials_missing": 401,
    "credentials_wrong": 401,
    "key_name_taken": 409,
    "key_unknown": 404,
    "encoding_unknown": 415,
    "form_unknown": 415,
    "job_running": 409,
    "job_runs_always": 409,
    "job_unknown": 404,
    "identity_wrong": 401,
    "ledger_empty": 404,
    "log_not_writable": 507,
    "oidc_not_configured": 404,
    "person_name_taken": 409,
    "person_unknown": 404,
    "publisher_failed": 500,
    "request_key_reused": 422,
    "request_under_way": 409,
    "sign_in_wrong": 401,
    "writer_busy": 503,
}
"""Of codes whose status is not that of their branch."""

_BRANCHES: tuple[tuple[type[ClearwellError], int], ...] = (
    (AccessError, 403),
    (OverloadError, 429),
    (UsageError, 400),
    (DataError, 422),
    (StorageError, 503),
)

_RETRY_AFTER = {429: "1", 503: "1", 507: "5"}


class Problem(BaseModel):
    """Why a request was not answered as it was meant."""

    code: str
    message: str
    details: list[str] = []


class ProblemAnswer(BaseModel):
    """What is answered then."""

    error: Problem


def status_of(error: ClearwellError) -> int:
    """The status of HTTP for an error."""
    if error.code in _STATUSES:
        return 507 if _is_full_disk(error) else _STATUSES[error.code]
    if _is_full_disk(error):
        return 507
    return next((status for branch, status in _BRANCHES if isinstance(error, branch)), 500)


def _is_full_disk(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            return True
        if "no space left" in str(cause).lower() or "disk is full" in str(cause).lower():
            return True
        cause = cause.__cause__
    return False


def answer(status: int, code: str, message: str, details: Any = ()) -> JSONResponse:
    """The answer for an error."""
    headers = {"Retry-After": _RETRY_AFTER[status]} if status in _RETRY_AFTER else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = {"error": {"code": code, "message": message, "details": list(details)}}
    return JSONResponse(content, status_code=status, headers=headers)


def problem(error: ClearwellError) -> JSONResponse:
    """The answer for one of our errors."""
    response = answer(status_of(error), error.code, error.message, error.details)
    if isinstance(error, OverloadError):
        response.headers["Retry-After"] = str(error.retry_seconds)
    return response


def add_to(app: FastAPI) -> None:
    """Have the app answer every error by the table."""

    @app.exception_handler(ClearwellError)
    async def _ours(_request: Request, error: ClearwellError) -> JSONResponse:
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        details = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        return answer(422, "request_invalid", f"the request has {len(details)} problem(s)", details)

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, ClearwellError):  # Of reading the body, which FastAPI covers up.
            return problem(error.__cause__)
        code = {404: "path_unknown", 405: "method_not_allowed"}.get(error.status_code, "request_refused")
        response = answer(error.status_code, code, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def _mistake(_request: Request, _error: Exception) -> JSONResponse:
        return answer(500, "service_failed", "the service made a mistake; its log says which")
