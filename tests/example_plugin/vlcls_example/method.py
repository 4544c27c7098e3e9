"""A method of `vlcls evaluate`, with a prompt source of its own."""

from vlcls.evaluation.run.kinds import MethodKind
from vlcls.labels import Labels
from vlcls.prompts import PromptSet, load_templates, prompts_from_templates
from vlcls.prompts.sources import PromptSource


def loud(context, options, seed):
    labels = context.labels
    louder = Labels(tuple(name.upper() for name in labels.names), labels.ids)
    return PromptSet(labels, prompts_from_templates(louder, options.get("template", "photo")).prompts)


LOUD = MethodKind(
    "loud",
    PromptSource("loud", "Names in capitals (template=).", loud, {"template": load_templates}),
)
