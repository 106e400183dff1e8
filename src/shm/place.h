/* place: where a bus lives. One rule for leatd and for every client.
 *
 *   NULL            $LEAT_BUS if set and not empty, else "default"
 *   /absolute/path  itself (trailing slashes go)
 *   NAME            root: /run/leat/NAME; others: $XDG_RUNTIME_DIR/leat/NAME, and /run/user/UID/leat/NAME without
 *                   that variable. A name has no '/', at most 100 bytes, and is neither "." nor "..".
 */
#ifndef LT_SHM_PLACE_H
#define LT_SHM_PLACE_H

#include <stddef.h>
#include <sys/un.h>

#define LT_PLACE_NAME_MAX 100u
#define LT_PLACE_MAX 1024u /* bytes of a bus directory's path, with the 0 */

/* Into out: the absolute path of the bus directory. Its length, or LEAT_EINVAL with a message. */
int lt_place(const char *where, char *out, size_t size);

/* Into out: the absolute path of the bus's data directory, by the same rules.
 *
 *   /absolute/path  its subdirectory `data`
 *   NAME            root: /var/lib/leat/NAME; others: $XDG_STATE_HOME/leat/NAME, and $HOME/.local/state/leat/NAME without that
 *                   variable
 */
int lt_place_data(const char *where, char *out, size_t size);

/* The address of the socket `name` in that directory, for bind() and connect(). A path that is too long for an address
 * is reached through an open descriptor of its directory: *dir_fd is to be closed after the call, unless it is -1.
 * 0, or an error with a message (LEAT_EGONE: no such directory). */
int lt_place_socket(const char *directory, const char *name, struct sockaddr_un *address, int *dir_fd);

#endif
