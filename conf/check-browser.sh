#!/bin/sh
# Silent where there is a Chromium to look at pages with; otherwise one line and exit code 4.
# The names are those of tests/helpers/browser.py.
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then
        exit 0
    fi
done
echo "There is no Chromium on PATH: tests of the page in the browser are skipped. Install one: 'sudo apt install \
chromium' (Debian, Ubuntu), 'sudo dnf install chromium' (Fedora), 'brew install --cask chromium' (macOS)." >&2
exit 4
