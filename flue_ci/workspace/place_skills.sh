# shellcheck shell=bash
# As root, in the home of the user, where processes of setup may still be at work: a folder of root's own with the files
# of skills.tar. The user could still rename it and put another in its place, but for a mount point.
: "${home:?}" "${folder:?}" "${store:?}"
set -u
umask 022
cd -P -- "$home" || exit 1
home=$(pwd -P)
made=no
for _ in 1 2 3 4 5; do
  # Only a root that may not do everything can fail here, and then it is the user.
  rm -rf -- "./$folder" 2>/dev/null || find "./$folder" -type d -exec chmod u+rwx {} \; 2>/dev/null
  mkdir -- "./$folder" 2>/dev/null || continue
  cd -P -- "./$folder" || continue
  # From here on the folder is meant, whatever its name leads to.
  if [ "$(stat -c '%u %a' .)" = "$(id -u) 755" ] && [ "$(pwd -P)" = "$home/$folder" ]; then
    made=yes
    break
  fi
  cd -P -- "$home" || exit 1
done
[ "$made" = yes ] || { echo "something else writes to $home/$folder"; exit 1; }
tar -xof "$store/skills.tar" && chmod -R a=rX . || exit 1
rm -f "$store/skills.tar"
if [ "$(id -u)" = 0 ] && [ "$(stat -c %u "$home")" != 0 ]; then
  mount --bind . "$home/$folder" 2>/dev/null || :
fi
[ "$home/$folder" -ef . ] || { echo "something else writes to $home/$folder"; exit 1; }
