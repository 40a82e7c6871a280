# Lists the recipes
[private]
default:
    @just --list --unsorted
