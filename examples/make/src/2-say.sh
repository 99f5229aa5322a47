echo "$greeting"
