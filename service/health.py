"""Routes for load balancers: is the process alive, can its database be used."""

from fastapi import APIRouter

from api_schemas.health import Health
from migrations import require_current_schema
from service.dependencies import State
from service.errors import problem_responses

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """Answers as long as the process does; asks neither the database nor anything else."""
    return Health()


@router.get("/readyz", summary="Can the database be used?", responses=problem_responses(503))
def readyz(state: State) -> Health:
    """Answers if the database does and its schema is the one this version needs; asks nothing else,
    neither the artifact store nor a coordinator."""
    require_current_schema(state.database)
    return Health()
