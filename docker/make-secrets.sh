#!/bin/sh
# Makes the secrets that docker/compose.yaml mounts, in docker/secrets beside this file. What is
# there already stays: a second seal key would make every report unreadable.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
# Nobody else enters the folder. The files themselves are readable, because a container sees the one
# that is mounted with the owner and the mode that it has here, and runs as another user.
chmod 700 secrets
cd secrets

random_hex() {
    od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}

make() { # make FILE: standard input becomes the file, unless it is there; whole or not at all
    if [ -e "$1" ]; then
        cat > /dev/null
    else
        cat > "$1.partial"
        chmod 444 "$1.partial"
        mv "$1.partial" "$1"
        echo "made docker/secrets/$1"
    fi
}

random_hex 24 | make postgres_password
random_hex 32 | make ray_token
random_hex 10 | make s3_user
random_hex 20 | make s3_password
make s3_credentials << END
[default]
aws_access_key_id = $(cat s3_user)
aws_secret_access_key = $(cat s3_password)
END
make truthtune.env << END
TRUTHTUNE_DATABASE_URL=postgresql+psycopg://truthtune:$(cat postgres_password)@postgres/truthtune
TRUTHTUNE_KEY_SECRET=$(random_hex 32)
TRUTHTUNE_SEAL_KEY=$(head -c 32 /dev/urandom | base64 | tr -d '\n')
END
