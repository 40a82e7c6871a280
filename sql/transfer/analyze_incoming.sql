-- Collects the statistics that the planner needs for the lines of an import.
ANALYZE incoming
