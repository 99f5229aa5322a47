#!/bin/sh
greeting=hello
