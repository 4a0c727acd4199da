"""What a group reads in place of the API's names."""

from collections.abc import Mapping

from api_schemas.jobs import StageName
from api_schemas.rounds import CounterfactualMethod

STAGES: Mapping[StageName, str] = {
    "fit_rewards": "Making the reward models that need it",
    "sample_pool": "Drawing the responses that all is valued on",
    "score": "Scoring these responses by every reward model",
    "solve": "Finding the best possible model on these responses",
    "train": "Training the model",
    "value": "Valuing the models",
    "settle": "Writing the invoices",
}
COUNTERFACTUALS: Mapping[CounterfactualMethod, str] = {
    "closed_form": "By formula: the best policy on the drawn responses without you. "
    "Payments belong to that best policy, which the delivered model comes near.",
    "bound": "By formula: the best policy on the drawn responses without you, against the model "
    "that is delivered.",
    "retrain": "A model is trained without you, for as long as the one with you.",
    "early_stop": "A model is trained without you, for fewer steps than the one with you.",
    "checkpoints": "The checkpoint of the one training that the others like best without you. "
    "Your report had a part in that training.",
    "soup": "Every group's model is trained alone; the others' best mix is taken without yours.",
}
