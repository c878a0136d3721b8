-- Nothing changes in the file: what is pruned is chosen by the program.
SELECT 1;
