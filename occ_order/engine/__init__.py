"""Training, evaluation and prediction by configuration: Detectron2's trainer with our parts."""
