#!/bin/sh
cat "$(dirname "$0")/../share/greeting.txt"
