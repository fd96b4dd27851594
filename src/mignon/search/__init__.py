"""A budget to an answer: which networks are worth a training, which recipes can meet it, which point is kept."""
