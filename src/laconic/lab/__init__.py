"""Where data, model, loss and loop meet: recipes, tasks, runs, sweeps."""
