"""A MuJoCo cell that speaks the real robot's topics, and a scripted demonstrator."""
