"""Routes for load balancers: is the process alive, can it serve."""

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


@router.get("/readyz", summary="Can the service work?", responses=problem_responses(503))
def readyz(state: State) -> Health:
    """Answers 200 if the database is there and its schema is the one this version needs."""
    require_current_schema(state.database)
    return Health()
