"""What the model says of a task, and the numbers made of it: scorers, judges, reward models, win rates, abilities."""
