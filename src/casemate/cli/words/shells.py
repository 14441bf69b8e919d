"""Completion scripts: thin shells around ``casemate __complete``, with the verbs written in for speed."""

from __future__ import annotations

from casemate.cli import table
from casemate.cli.words.complete import DIRECTORIES, FILES

BASH = """\
# bash completion for casemate; use: source <(casemate completion bash)
_casemate() {
    local cur=${COMP_WORDS[COMP_CWORD]} line words=() i
    # bash splits words at = and :, names of images have colons: join them again
    local joined=() word
    local text=${COMP_LINE:0:COMP_POINT}
    read -r -a joined <<<"$text"
    [[ $text == *[[:space:]] ]] && joined+=("")
    cur=${joined[${#joined[@]}-1]}
    if [[ ${#joined[@]} -eq 2 && $cur != -* ]]; then
        COMPREPLY=($(compgen -W "@VERBS@" -- "$cur"))
        return
    fi
    COMPREPLY=()
    local files="" dirs=""
    while IFS=$'\\t' read -r line _; do
        case $line in
            @FILES@) files=1 ;;
            @DIRS@) dirs=1 ;;
            *) COMPREPLY+=("$line") ;;
        esac
    done < <("${joined[0]}" __complete -- "${joined[@]:1}" 2>/dev/null)
    if [[ $files ]]; then compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")); fi
    if [[ $dirs ]]; then compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")); fi
    # bash inserts only what follows the last : or = of the word
    local prefix=${cur%"${cur##*[=:]}"}
    if [[ $prefix && $COMP_WORDBREAKS == *[=:]* ]]; then
        for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]#"$prefix"}; done
    fi
}
complete -F _casemate casemate
"""

ZSH = """\
#compdef casemate
# zsh completion for casemate; use: source <(casemate completion zsh)
_casemate() {
    local -a described
    local line word meaning
    while IFS= read -r line; do
        word=${line%%$'\\t'*}
        meaning=""
        [[ $line == *$'\\t'* ]] && meaning=${line#*$'\\t'}
        case $word in
            @FILES@) _files; return ;;
            @DIRS@) _files -/; return ;;
        esac
        described+=("${word//:/\\\\:}:$meaning")
    done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    _describe 'casemate' described
}
if [[ $funcstack[1] == _casemate ]]; then _casemate "$@"; else compdef _casemate casemate; fi
"""

FISH = """\
# fish completion for casemate; use: casemate completion fish | source
function __casemate_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case @FILES@
                __fish_complete_path (commandline -ct)
            case @DIRS@
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $line
        end
    end
end
complete -c casemate -f -a '(__casemate_complete)'
"""


def script(shell: str) -> str:
    """Return the completion script of ``bash``, ``zsh`` or ``fish``."""
    text = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    names = [name for name in table.PARTS if not name.startswith("_")]
    return (
        text.replace("@VERBS@", " ".join([*names, *table.NOUNS]))
        .replace("@FILES@", FILES)
        .replace("@DIRS@", DIRECTORIES)
    )
