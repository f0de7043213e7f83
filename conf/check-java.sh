#!/bin/sh
# Silent where there is a Java that Spark can run on; otherwise one line and exit code 4.
# The words are those of elodin_spark/spark/java.py, which cannot run before Python is set up.
minimum=17
how="Install one: 'sudo apt install openjdk-17-jre-headless' (Debian, Ubuntu), \
'sudo dnf install java-17-openjdk-headless' (Fedora, Rocky), 'brew install openjdk@17' (macOS), \
or 'conda install -c conda-forge openjdk=17'; then set JAVA_HOME if 'java' is not on PATH."

if [ -n "${JAVA_HOME:-}" ]; then
    java="$JAVA_HOME/bin/java"
    where="at JAVA_HOME=$JAVA_HOME"
else
    java=$(command -v java || true)
    where="on PATH"
fi
if [ -z "$java" ] || [ ! -x "$java" ]; then
    echo "Spark needs Java $minimum or newer and there is no java $where. $how" >&2
    exit 4
fi
# 'openjdk version "17.0.15"' or, up to Java 8, 'java version "1.8.0_392"'.
version=$("$java" -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9][0-9]*\).*/\2/p' | head -n 1)
if [ "${version:-0}" -lt "$minimum" ]; then
    echo "Spark needs Java $minimum or newer and $java is ${version:-of unknown version}. $how" >&2
    exit 4
fi
