Feature: Processes

  # Tests input, arguments and environment of a command that needs a shell
  Scenario: Shell
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: shell
      version: '1.0.0'
    do:
      - say:
          run:
            shell:
              command: |
                input=$(cat)
                printf '%s %s %s' "$input" "$1" "$WORD"
              stdin: ${ .word }
              arguments: [ b ]
              environment:
                WORD: c
    """
    And given the workflow input is:
    """yaml
    word: a
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    a b c
    """

  Scenario: Command Without A Shell
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: command
      version: '1.0.0'
    do:
      - say:
          run:
            shell:
              command: printf '%s-%s' "a b"
              arguments: [ $HOME ]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    a b-$HOME
    """

  # Tests that who asks for the code looks at it
  Scenario: All Of A Process
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: all
      version: '1.0.0'
    do:
      - fail:
          run:
            shell:
              command: echo out; echo err >&2; exit 3
            return: all
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    code: 3
    stdout: "out\n"
    stderr: "err\n"
    """

  Scenario: Failing Command
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: failing
      version: '1.0.0'
    do:
      - fail:
          run:
            shell:
              command: echo no >&2; exit 3
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/runtime
    status: 500
    instance: /do/0/fail
    """

  # Tests that the input goes through
  Scenario: Nothing Of A Process
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: none
      version: '1.0.0'
    do:
      - say:
          run:
            shell:
              command: printf x
            return: none
    """
    And given the workflow input is:
    """yaml
    word: a
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    word: a
    """

  Scenario: Script
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: script
      version: '1.0.0'
    do:
      - compute:
          run:
            script:
              language: python
              code: |
                import sys
                print(int(sys.argv[1]) * int(sys.stdin.read()), end="")
              stdin: '6'
              arguments: [ '7' ]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    "42"
    """

  Scenario: Command That Is Not Allowed
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: forbidden
      version: '1.0.0'
    do:
      - look:
          run:
            shell:
              command: cat /etc/passwd
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/authorization
    status: 403
    """
