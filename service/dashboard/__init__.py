"""The pages for people: an HTML front to the API, in the same process."""

from fastapi import APIRouter, FastAPI
from starlette.staticfiles import StaticFiles

from service.dashboard import downloads, group, pages, playground, rounds, sign_in
from service.dashboard.operator import initial_models, routers
from service.dashboard.sessions import PATH

_ROUTERS = (
    sign_in.router,
    downloads.router,
    initial_models.drawings,
    *routers.ROUTERS,
    *group.ROUTERS,
    playground.router,
    rounds.router,
)


def add_to(app: FastAPI) -> None:
    """The routes; they are not part of the API's document."""
    router = APIRouter(include_in_schema=False)
    for part in _ROUTERS:
        router.include_router(part)
    app.include_router(router)
    app.mount(f"{PATH}/static", StaticFiles(directory=pages.FOLDER / "static"))
