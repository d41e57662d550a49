"""Tasks with their hidden gold: toy worlds, and world hub for real models and files."""
