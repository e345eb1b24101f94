"""The local judge, made: what `em-evals judge train` does. No evaluation imports this."""
