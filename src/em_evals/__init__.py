"""em-evals: evaluations of emergent misalignment in fine-tuned language models, for Inspect AI."""
