-- Tells the planner how many lines wait.
ANALYZE incoming
