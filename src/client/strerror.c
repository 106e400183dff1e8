/* strerror: the words for the codes of leat.h. Total: every int has a text. */
#include <leat.h>

const char *leat_strerror(int error)
{
    if (error >= 0)
        return "success";
    switch ((enum leat_error)error) {
    case LEAT_EINVAL:
        return "invalid argument";
    case LEAT_ENOMEM:
        return "out of memory";
    case LEAT_EGONE:
        return "no leatd answers on this bus";
    case LEAT_EVERSION:
        return "library and leatd are of builds that do not fit together";
    case LEAT_ENOTOPIC:
        return "no such topic";
    case LEAT_EEXIST:
        return "the topic exists already";
    case LEAT_ENOPART:
        return "no such partition";
    case LEAT_EPERM:
        return "permission denied";
    case LEAT_ELIMIT:
        return "a limit of the bus is reached";
    case LEAT_ETOOBIG:
        return "the record is larger than a quarter of the ring";
    case LEAT_EFULL:
        return "the ring is full";
    case LEAT_ETIMEOUT:
        return "not done in the time given";
    case LEAT_EABORTED:
        return "the claim was taken back";
    case LEAT_EWAKEUP:
        return "woken up";
    case LEAT_EFORKED:
        return "the handle belongs to the parent of this process";
    case LEAT_EEXCLUSIVE:
        return "the topic is held exclusively, or others are in the way of holding it";
    case LEAT_EBUSY_HANDLE:
        return "another call on this handle is under way";
    case LEAT_EUNSUPPORTED:
        return "not supported by this build or this kernel";
    case LEAT_EFENCED:
        return "this member was evicted, or another one owns the partition";
    case LEAT_EIO:
        return "an operating system call failed";
    case LEAT_EDELETED:
        return "the topic was deleted";
    case LEAT_EINUSE:
        return "still in use";
    case LEAT_EPROTO:
        return "the other side answered nonsense";
    case LEAT_EOFFSET:
        return "the offset is not in the partition";
    case LEAT_ENOSPC:
        return "no space left on the disk";
    case LEAT_EFAILED:
        return "the partition has failed and waits for an operator";
    case LEAT_ENOGROUP:
        return "no such group";
    }
    return "unknown error";
}
